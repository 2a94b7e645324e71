# How ysj9909/SoMA trains on GTA5. [SoMA]: read in its configs/sora/sora_dinov2-L_mask2former.py,
# where all that is not named here is as in Rein's schedule; [ours]: our choice.
_base_ = "rein_40k.py"
optim_wrapper = dict(paramwise_cfg=dict(backbone_lr=0.5))  # [SoMA]
param_scheduler = [  # a change of iterations has to change both ends
    dict(type="PolyLR", power=0.9, eta_min=0, begin=0, end=40000, by_epoch=False),  # [SoMA]
    dict(
        type="CosineAnnealingParamScheduler",  # [SoMA]
        param_name="weight_decay",
        eta_min_ratio=2e-4,  # 0.05 to 1e-5 [SoMA]; what does not decay stays at 0 [ours]
        begin=0,
        end=40000,
        by_epoch=False,
    ),
]
# mmengine's average, of momentum 2e-4, from step 12 000 on [SoMA]; it is what is tested
custom_hooks = [dict(type="EMAHook", begin_iter=12000)]
