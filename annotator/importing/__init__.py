"""Pictures and labels in: a file per format, `intake` for pictures, `labels` for label files."""

from annotator.importing.intake import import_files, import_folder, import_images, import_zip
from annotator.importing.labels import import_labels
from annotator.importing.preview import preview_labels

__all__ = [
    "import_files",
    "import_folder",
    "import_images",
    "import_labels",
    "import_zip",
    "preview_labels",
]
