"""Any picture in, an upright 8-bit picture out, decoded in processes of its own that may fail alone.

This room imports Pillow and numpy only, so that a decoding process starts quickly and has nothing to lose.
"""
