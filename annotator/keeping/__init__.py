"""Keeping a data folder: backup, restore, scan and doctor.

These work on a folder whose server may be stopped or whose database may not open, so they stand beside
`Actions`, for the terminal only; labels are written by the store alone, as everywhere.
"""
