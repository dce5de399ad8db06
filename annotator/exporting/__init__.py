"""Labels out: a file per format, and the reference reader of our own."""

from annotator.exporting.coco_partial import export_coco
from annotator.exporting.output import ExportReport
from annotator.exporting.pages import go_on
from annotator.exporting.reader import cell_states
from annotator.exporting.wide_csv import export_csv

__all__ = ["ExportReport", "cell_states", "export_coco", "export_csv", "go_on"]
