"""Frames as codecs give and take them."""
