"""The page: Gradio tabs around the annotate surface. Import `annotator.ui.app` to serve it."""
