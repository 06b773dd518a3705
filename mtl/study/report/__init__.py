"""How findings are shown: sentences, numbers, figures, pages and files."""

__all__ = ["claims", "figures", "outcome", "page", "presentation"]
