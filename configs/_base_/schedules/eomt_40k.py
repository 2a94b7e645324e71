# Rein's schedule with the rates of tue-mps/eomt. [EoMT]: read in its training/lightning_module.py;
# [ours]: our choice. EoMT itself trains on Cityscapes, for about 20 000 steps of 16 crops of
# 1024x1024. There all weights decay; here norms, biases, positions and the class token do not
# [ours].
_base_ = "rein_40k.py"
optim_wrapper = dict(
    paramwise_cfg=dict(layer_decay=0.8)  # from each block to the one before it [EoMT]
)
param_scheduler = [  # a change of iterations has to change the last end
    # of new weights the rate rises to step 500, of the ViT from there to 1500 [EoMT]; here of all
    # to 1500 [ours]
    dict(type="LinearLR", start_factor=1e-3, begin=0, end=1500, by_epoch=False),
    dict(type="PolyLR", power=0.9, eta_min=0, begin=1500, end=40000, by_epoch=False),  # [EoMT]
]
