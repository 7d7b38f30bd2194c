"""Data: the KITTI object set and synthetic street scenes."""

from diffrender.datasets.camera_files import CameraFile as CameraFile
from diffrender.datasets.camera_files import load_camera as load_camera
from diffrender.datasets.camera_files import load_camera_file as load_camera_file
from diffrender.datasets.kitti import KittiFrame as KittiFrame
from diffrender.datasets.kitti import KittiObject as KittiObject
from diffrender.datasets.kitti_calibration import KittiCalibration as KittiCalibration
from diffrender.datasets.kitti_calibration import load_calibration as load_calibration
from diffrender.datasets.kitti_calibration import parse_calibration as parse_calibration
from diffrender.datasets.kitti_labels import KITTI_COLUMNS as KITTI_COLUMNS
from diffrender.datasets.kitti_labels import KittiLabel as KittiLabel
from diffrender.datasets.kitti_labels import load_labels as load_labels
from diffrender.datasets.kitti_labels import parse_labels as parse_labels
from diffrender.datasets.synthetic import DEVELOPMENT_SEED as DEVELOPMENT_SEED
from diffrender.datasets.synthetic import HELD_OUT_SEED as HELD_OUT_SEED
from diffrender.datasets.synthetic import TRAINING_SEED as TRAINING_SEED
from diffrender.datasets.synthetic import StreetSettings as StreetSettings
from diffrender.datasets.synthetic import SyntheticFrame as SyntheticFrame
from diffrender.datasets.synthetic import SyntheticStreets as SyntheticStreets
from diffrender.datasets.synthetic import add_depth_noise as add_depth_noise
from diffrender.datasets.synthetic_export import write_kitti as write_kitti
from diffrender.datasets.synthetic_sample import sample_folder as sample_folder
from diffrender.datasets.synthetic_sample import sample_frame as sample_frame
