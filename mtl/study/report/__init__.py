"""Presentation of findings: sentences, numbers, figures, pages and files."""

__all__ = ["conclusions", "figures", "outcome", "page", "presentation"]
