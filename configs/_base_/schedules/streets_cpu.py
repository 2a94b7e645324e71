# A schedule for the generated streets and two CPU cores: minutes. All of it is our choice.
crop_size = (160, 256)
scale = (0.75, 1.75)
aspect = (3 / 4, 4 / 3)

optimizer = dict(type="AdamW", lr=0.002, weight_decay=0.01)
poly_power = 0.9
batch = 8
iterations = 500
workers = 1
log_interval = 10
checkpoint_interval = 50
