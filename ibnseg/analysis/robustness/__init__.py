"""Robustness: the mIoU that networks keep when scenes look different."""
