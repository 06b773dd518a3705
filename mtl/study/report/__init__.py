"""How findings are shown: sentences, numbers, figures, pages and files."""

__all__ = ["conclusions", "figures", "outcome", "page", "presentation"]
