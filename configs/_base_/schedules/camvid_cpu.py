# A schedule for a small dataset and two CPU cores: minutes, not days. All of it is our choice.
crop_size = (224, 224)
scale = (0.5, 2.0)
aspect = (3 / 4, 4 / 3)

optimizer = dict(type="SGD", lr=0.02, momentum=0.9, weight_decay=1e-4)
poly_power = 0.9
batch = 8
iterations = 300
precision = "auto"
channels_last = True
workers = 1
log_interval = 20
checkpoint_interval = 100
