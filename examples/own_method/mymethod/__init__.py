from mymethod.whitening import SecondPhase, Whitening

__all__ = ["SecondPhase", "Whitening"]
