"""Photographs to rigged animals, and animals to files that other programs open."""
