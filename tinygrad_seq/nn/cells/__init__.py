"""Recurrent cells: what one is, and ours, a file each."""
