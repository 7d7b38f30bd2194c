"""One image to posed, textured meshes, in ten lines.

python examples/reconstruct.py                     # the shipped synthetic sample, into out/
python examples/reconstruct.py KITTI 000114 DIR    # a frame of a KITTI folder, into DIR/
"""

import sys

import diffrender as dr
from diffrender.datasets import KittiObject, sample_frame
from diffrender.shape_priors import load_prior

if len(sys.argv) == 2 or len(sys.argv) > 4:
    sys.exit(__doc__)
frame = KittiObject(sys.argv[1])[sys.argv[2]] if len(sys.argv) > 2 else sample_frame()
scene = dr.reconstruct(
    frame.image,  # (H, W, 3) uint8
    frame.camera,  # full P2, OpenCV frame
    instances=frame.instances("instance_2"),  # masks, classes, 2D boxes, scores
    depth=frame.lidar_depth(),  # (H, W) metres, 0 = unknown
    prior=load_prior("car"),
    run=dr.Run(frame.name, depth_source="lidar"),
)
for car in scene.objects:
    print(car.name, car.centre, car.size, car.yaw, car.confidence, car.stop_reason)
scene.save(sys.argv[3] if len(sys.argv) > 3 else "out")
