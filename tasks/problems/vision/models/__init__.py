"""Vision has networks by kind, teachers and students alike."""

NETWORKS = {
    "resnet": "tasks.problems.vision.models.resnet:build_resnet",
    "fast": "tasks.problems.vision.models.fast:build_fast",
    "separable": "tasks.problems.vision.models.separable:build_separable",
}
TREES: dict[str, str] = {}
