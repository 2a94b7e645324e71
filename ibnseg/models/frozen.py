"""Training of backbones of which some parts stay as they are."""

from __future__ import annotations

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm


class PartlyFrozen(nn.Module):
    """A backbone whose first stages, or whose running statistics, may stay as they are in training.

    Attributes:
        norm_eval: whether BN keeps its running statistics.
        frozen_stages: number of stages, with the stem, that are not trained; 0 for the stem alone,
            -1 for none.
    """

    norm_eval: bool
    frozen_stages: int

    def _frozen_modules(self) -> list[str]:
        """Names the modules that are not trained if ``frozen_stages`` is 0 or more."""
        raise NotImplementedError

    def _freeze(self) -> None:
        """Puts the modules that are not trained into evaluation mode, without gradients."""
        for name in self._frozen_modules() if self.frozen_stages >= 0 else ():
            self.get_submodule(name).eval().requires_grad_(False)

    def train(self, mode: bool = True) -> PartlyFrozen:
        super().train(mode)
        self._freeze()
        if mode and self.norm_eval:
            for module in self.modules():
                if isinstance(module, _BatchNorm):
                    module.eval()
        return self
