"""Street scenes that draw themselves: layouts, their appearances, and datasets of them."""
