"""The annotation assistant: multi-label images with partial labels.

A person's answers are *decisions* on (image, category) *cells*; everything else is derived from them.
"""

__version__ = "0.2.0"
