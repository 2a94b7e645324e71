# The demo's network for the drivable area of the streets (ibnseg streets data).
_base_ = "streets_r18.py"
train_domain = "streets_virtual_drivable"
test_domains = ["streets_virtual_drivable", "streets_real_drivable"]
iterations = 300
class_balance = 0.5
model = dict(
    decode_head=dict(
        num_classes=3,
        # weighted by class_balance, not by hand
        loss_decode=dict(_delete_=True, type="CrossEntropyLoss", avg_non_ignore=True),
    )
)
