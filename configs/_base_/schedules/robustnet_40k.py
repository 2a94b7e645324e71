# How RobustNet (Choi et al., CVPR 2021) trains its baselines on GTA5, which later work compares
# with: [robustnet] read in shachoi/RobustNet, scripts/train_r50os16_gtav_{base,ibn}.sh and the code
# that they run; [ours] our choice, if we differ or it says nothing.
crop_size = (768, 768)  # [robustnet]; smaller images are padded on the right and below, with the
# mean [ours]; there on all sides, with black
train_resize = None  # from full resolution [robustnet]
# labels by id [ours]; there by colour, so that licence plates are cars and pole groups are poles
scale = (0.5, 2.0)  # [robustnet]
scale_sampling = "uniform"  # [robustnet]
aspect = (1.0, 1.0)  # unchanged [robustnet]
interpolation = "bicubic"  # Pillow's [robustnet]
# random mirror, half of the images [robustnet]
augment = [
    dict(  # torchvision's, on Pillow images [robustnet]
        type="ibnseg.ColorJitter", brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1, prob=0.5
    ),
    dict(type="ibnseg.GaussianBlur", sigma=(0.15, 1.3)),  # always [robustnet]
]
class_uniform = 0.5  # half of the images, in tiles of 1024 [robustnet]; drawn one by one [ours],
# there as lists of an epoch

optimizer = dict(
    type="SGD",  # [robustnet]
    lr=0.01,  # [robustnet]
    momentum=0.9,  # [robustnet]
    weight_decay=5e-4,  # of all parameters, normalisations' and biases too [robustnet]
)
poly_power = 0.9  # lr * (1 - i / N) ** 0.9, at each step [robustnet]
batch = 16  # 4 GPUs x 4 [robustnet]
iterations = 40000  # [robustnet]
sync_bn = "torch"  # [robustnet]
precision = "float32"  # [robustnet]
workers = 8  # of each process [robustnet]
# the last iterate is tested [ours]; seed 0 [ours], there 304
