"""`diffrender demo`: the main job on the shipped sample, compared with its truth."""
