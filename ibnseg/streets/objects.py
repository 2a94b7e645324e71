"""The things in a street; each function makes the facets of one thing in a frame.

Sizes are in metres. A surface is (Cityscapes id, material, tone).
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

from ibnseg.datasets.labels import LABELS
from ibnseg.streets.scene import (
    Facet,
    Frame,
    Outline,
    Random,
    Surface,
    box,
    disc,
    limb,
    unit,
)

ID = {label.name: label.id for label in LABELS}


def cutouts(frame: Frame, parts: Iterable[tuple[Surface, Outline]], z: float = 0.0) -> list[Facet]:
    """Makes flat parts across the frame, each a little nearer than the previous one."""
    return [frame.across(surface, shape, z - 0.004 * i) for i, (surface, shape) in enumerate(parts)]


def _sides(frame: Frame, width: float, surface: Surface, shapes: Iterable[Outline]) -> list[Facet]:
    """Makes the same shapes on both sides of a body."""
    return [frame.along(surface, shape, x) for x in (-width / 2, width / 2) for shape in shapes]


def _body(frame: Frame, profile: list[tuple], width: float, label: int, tone: float) -> list[Facet]:
    """Makes a body with one cross-section: two sides, and a strip for each edge of the ``profile``,
    which lists (ahead, up, material of the edge to the next corner)."""
    facets = _sides(frame, width, (label, "paint", tone), [tuple((z, y) for z, y, _ in profile)])
    for (z0, y0, material), (z1, y1, _) in pairwise([*profile, profile[0]]):
        low, high = frame.point(0, y0, z0), frame.point(0, y1, z1)
        up, length = unit((high[0] - low[0], high[1] - low[1], high[2] - low[2]))
        strip = box(-width / 2, width / 2, 0, length)
        facets.append(Facet(label, material, tone, low, frame.right, up, strip))
    return facets


def _block(z0: float, z1: float, y0: float, y1: float) -> list[tuple]:
    return [(z1, y0, "paint"), (z1, y1, "paint"), (z0, y1, "paint"), (z0, y0, "black")]


def _wheels(frame: Frame, width: float, label: int, radius: float, *places: float) -> list[Facet]:
    tyres = [disc(z, radius, radius) for z in places]
    hubs = [disc(z, radius, 0.55 * radius) for z in places]
    return [
        *_sides(frame, width + 0.04, (label, "tyre", 0), tyres),
        *_sides(frame, width + 0.08, (label, "metal", 0), hubs),
    ]


def _lights(frame: Frame, label: int, x: float, y: float, front: float, back: float) -> list[Facet]:
    """Makes two headlights, two taillights and two licence plates."""
    lamps = [box(side - 0.17, side + 0.17, y - 0.08, y + 0.08) for side in (-x, x)]
    plate = box(-0.26, 0.26, y - 0.3, y - 0.18)
    return [
        *(frame.across((label, "lamp", 0), lamp, front + 0.03) for lamp in lamps),
        *(frame.across((label, "taillight", 0), lamp, back - 0.03) for lamp in lamps),
        *(frame.across((label, "plate", 0), plate, z) for z in (front + 0.03, back - 0.03)),
    ]


CARS = (  # length, height, begin and end of the roof, heights of bonnet and boot, chance
    (4.6, 1.45, 0.35, -1.05, 0.92, 1.0, 0.3),
    (4.0, 1.5, 0.4, -1.5, 0.95, 1.05, 0.3),
    (4.6, 1.5, 0.4, -1.95, 0.92, 1.05, 0.15),
    (4.9, 1.95, 0.9, -2.25, 1.15, 1.25, 0.1),
    (4.5, 1.75, 0.4, -1.9, 1.1, 1.15, 0.15),
)


def car(frame: Frame, rng: Random) -> list[Facet]:
    shape = CARS[rng.choice(len(CARS), p=[row[-1] for row in CARS])]
    length, height, front, back, bonnet, boot, _ = shape
    label, width, end = ID["car"], 1.8, length / 2
    screen, rear = front + 0.65, max(back - 0.5, -end + 0.08)
    profile = [
        (end, 0.32, "paint"), (end - 0.06, bonnet - 0.18, "paint"), (screen, bonnet, "glass"),
        (front, height - 0.03, "paint"), (back, height, "glass"), (rear, boot, "paint"),
        (-end, boot - 0.08, "paint"), (-end, 0.32, "black"),
    ]  # fmt: skip
    low, high, middle = bonnet + 0.04, height - 0.12, (front + back) / 2
    windows = (
        ((screen - 0.15, low), (front - 0.02, high), (middle + 0.05, high), (middle + 0.05, low)),
        ((middle - 0.05, low), (middle - 0.05, high), (back + 0.05, high), (rear + 0.2, low)),
    )
    return [
        *_body(frame, profile, width, label, rng.random_sample()),
        *_sides(frame, width + 0.04, (label, "glass", 0), windows),
        *_wheels(frame, width, label, 0.33, 0.31 * length, -0.31 * length),
        *_lights(frame, label, 0.65, 0.68, end, -end),
    ]


def truck(frame: Frame, rng: Random) -> list[Facet]:
    label, end, height = ID["truck"], rng.uniform(2, 3.75), rng.uniform(3.0, 3.7)
    cab, front = end + 0.1, end + 2
    window = ((cab + 0.3, 1.7), (cab + 0.3, 2.5), (front - 0.4, 2.5), (front - 0.1, 1.7))
    return [
        *_body(frame, _block(-end, end, 0.9, height), 2.5, label, rng.random_sample()),
        *_body(frame, _block(cab, front, 0.4, 2.8), 2.4, label, rng.random_sample()),
        frame.across((label, "glass", 0), box(-1.05, 1.05, 1.6, 2.55), front + 0.02),
        *_sides(frame, 2.44, (label, "glass", 0), [window]),
        *_sides(frame, 2.2, (label, "black", 0), [box(-end, cab, 0.5, 0.9)]),
        *_wheels(frame, 2.5, label, 0.5, front - 0.8, 1.2 - end, 2.3 - end),
        *_lights(frame, label, 0.95, 0.75, front, -end),
    ]


def _coach(frame: Frame, label: int, tone: float, length: float, low: float, high: float, panes):
    """Makes the long body with a band of windows that buses and trams have."""
    end, step = length / 2, (length - 0.8) / panes
    windows = [
        box(0.4 - end + i * step, 0.3 - end + (i + 1) * step, 0.5 * high, 0.82 * high)
        for i in range(panes)
    ]
    screen, line = box(-1.1, 1.1, 0.4 * high, 0.85 * high), box(-0.7, 0.7, 2.75, 3.0)
    return [
        *_body(frame, _block(-end, end, low, high), 2.5, label, tone),
        *_sides(frame, 2.54, (label, "glass", 0), windows),
        *(frame.across((label, "glass", 0), screen, z) for z in (end + 0.02, -end - 0.02)),
        frame.across((label, "amber", 0), line, end + 0.03),
        *_lights(frame, label, 0.9, 0.3 * high, end, -end),
    ]


def bus(frame: Frame, rng: Random) -> list[Facet]:
    length = rng.uniform(9, 12.5)
    coach = _coach(frame, ID["bus"], rng.random_sample(), length, 0.33, 3.1, 7)
    return coach + _wheels(frame, 2.5, ID["bus"], 0.48, length / 2 - 2.4, 2.8 - length / 2)


def tram(frame: Frame, tone: float) -> list[Facet]:
    """Makes one car of a tram."""
    skirt = (ID["train"], "paint", (tone + 0.4) % 1)
    coach = _coach(frame, ID["train"], tone, 10, 0.08, 3.4, 6)
    return coach + _sides(frame, 2.52, skirt, [box(-5, 5, 0.08, 1.1)])


def bicycle(frame: Frame, rng: Random) -> list[Facet]:
    surface, tyre = (ID["bicycle"], "paint", rng.random_sample()), (ID["bicycle"], "tyre", 0)
    bars = ((-0.55, 0.34, -0.15, 0.85), (-0.2, 0.8, 0.35, 0.85), (-0.1, 0.35, 0.38, 0.8),
            (0.55, 0.34, 0.35, 0.95), (-0.55, 0.34, -0.05, 0.34),
            (-0.05, 0.34, -0.22, 0.95))  # fmt: skip
    rims = [disc(z, 0.34, 0.34) + disc(z, 0.34, 0.25)[::-1] for z in (-0.55, 0.55)]
    seat, grip = limb(-0.36, 0.97, -0.1, 0.97, 0.07), limb(0.25, 1.0, 0.42, 1.0, 0.06)
    return [
        *(frame.along(tyre, shape) for shape in (*rims, seat, grip)),
        *(frame.along(surface, limb(*bar, 0.07)) for bar in bars),
        frame.across(tyre, limb(-0.28, 1.0, 0.28, 1.0, 0.05), 0.35),
        frame.across(tyre, box(-0.03, 0.03, 0.0, 0.68), -0.55),
    ]


def motorcycle(frame: Frame, rng: Random) -> list[Facet]:
    label, tone = ID["motorcycle"], rng.random_sample()
    paint, tyre, metal = (label, "paint", tone), (label, "tyre", 0), (label, "metal", 0)
    body = ((-0.9, 0.75), (-0.75, 0.9), (-0.1, 0.8), (0.15, 1.0), (0.45, 0.95), (0.6, 0.6),
            (0.2, 0.25), (-0.4, 0.25))  # fmt: skip
    return [
        *(frame.along(tyre, disc(z, 0.32, 0.32)) for z in (-0.65, 0.72)),
        *_sides(frame, 0.04, metal, [disc(z, 0.32, 0.16) for z in (-0.65, 0.72)]),
        *_sides(frame, 0.3, paint, [body]),
        *_sides(frame, 0.32, metal, [limb(0.72, 0.32, 0.45, 1.0, 0.09)]),
        *(frame.across(paint, box(-0.15, 0.15, 0.4, 0.9), z) for z in (-0.6, 0.5)),
        *(frame.across(tyre, box(-0.08, 0.08, 0.0, 0.64), z) for z in (-0.95, 1.0)),
        frame.across((label, "lamp", 0), disc(0, 0.85, 0.1), 0.62),
        frame.across((label, "taillight", 0), box(-0.1, 0.1, 0.72, 0.82), -0.92),
        frame.across((label, "steel", 0), limb(-0.36, 1.05, 0.36, 1.05, 0.06), 0.4),
    ]


def _head(label: int, rng: Random, x: float, chin: float, helmet: bool) -> list[tuple]:
    """Makes the parts of a head, which is turned towards the camera or away from it."""
    skin, hair, low = rng.random_sample(), rng.random_sample(), rng.choice((0.06, 0.14))
    cap = tuple((a, max(b, chin + low)) for a, b in disc(x, chin + 0.15, 0.125, 0.15))
    face = (label, "skin", skin), disc(x, chin + 0.14, 0.1, 0.14)
    return [face, ((label, "paint" if helmet else "hair", hair), cap)]


def person(frame: Frame, rng: Random) -> list[Facet]:
    """Makes someone who walks or stands; one in ten is a child."""
    label, size = ID["person"], rng.uniform(0.88, 1.06) * rng.choice((1, 0.7), p=(0.9, 0.1))
    legs, shirt, bag = ((label, "cloth", tone) for tone in rng.random_sample(3))
    skin, shoe = (label, "skin", legs[2]), (label, "black", 0)
    left, right = -0.08 - rng.uniform(0, 0.3), 0.08 + rng.uniform(0, 0.2)
    swing = 0.3 + rng.uniform(0, 0.1)
    torso = ((-0.17, 0.85), (-0.23, 1.42), (-0.1, 1.52), (0.1, 1.52), (0.23, 1.42), (0.17, 0.85))
    coat = ((-0.28, 0.5), *torso[1:-1], (0.28, 0.5))
    parts = [
        (legs, limb(-0.08, 0.9, left, 0.06, 0.17)),
        (legs, limb(0.08, 0.9, right, 0.06, 0.17)),
        *((shoe, box(x - 0.08, x + 0.1, 0, 0.1)) for x in (left, right)),
        *((shirt, limb(x * 0.7, 1.42, x, 0.85, 0.11)) for x in (-swing, swing)),
        (shirt, coat if rng.random_sample() < 0.2 else torso),
        *((skin, disc(x, 0.82, 0.06)) for x in (-swing, swing)),
        *([(bag, box(0.2, 0.48, 0.5, 0.8))] if rng.random_sample() < 0.25 else []),
        *_head(label, rng, 0, 1.5, helmet=False),
    ]
    scaled = [(surface, tuple((size * a, size * b) for a, b in shape)) for surface, shape in parts]
    return cutouts(Frame(frame.origin), scaled)


def rider(frame: Frame, rng: Random) -> list[Facet]:
    """Makes someone on a bicycle or a motorcycle, turned at least a little sideways."""
    if abs(frame.ahead[0]) < 0.45:
        frame = frame.turned(0.6 if frame.ahead[0] > 0 else -0.6)
    label, back = ID["rider"], 0.3 * frame.ahead[0]
    legs, shirt = ((label, "cloth", tone) for tone in rng.random_sample(2))
    torso = ((-0.18 - back / 2, 0.9), (-0.2 + back / 2, 1.42), (0.22 + back / 2, 1.42),
             (0.18 - back / 2, 0.9))  # fmt: skip
    bars = ((-0.06, 0.95, back + 0.06, 0.62, 0.17), (back + 0.06, 0.62, back, 0.25, 0.14),
            (0.1, 0.95, 0.14, 0.6, 0.16), (0.14, 0.6, 0.1, 0.3, 0.13))  # fmt: skip
    parts = [
        *((legs, limb(*bar)) for bar in bars),
        (shirt, torso),
        *((shirt, limb(x + back / 2, 1.36, 1.3 * x + 1.6 * back, 1.03, 0.1)) for x in (-0.2, 0.22)),
        *_head(label, rng, 0.6 * back, 1.44, helmet=rng.random_sample() < 0.6),
    ]
    vehicle = bicycle if rng.random_sample() < 0.65 else motorcycle
    return vehicle(frame, rng) + cutouts(Frame(frame.origin), parts, z=-0.1)


def tree(frame: Frame, rng: Random) -> list[Facet]:
    """Makes a tree with a crown of blobs; one in five is a conifer."""
    label, tone, height = ID["vegetation"], rng.random_sample(), rng.uniform(4.5, 11)
    radius = height * rng.uniform(0.22, 0.32)
    trunk = ((-0.16, 0), (0.16, 0), (0.1, 0.6 * height), (-0.1, 0.6 * height))
    if rng.random_sample() < 0.2:
        lows = [(height * (0.15 + 0.2 * i), radius * (0.85 - 0.17 * i)) for i in range(4)]
        crown = [((-r, b), (-0.3 * r, b + 0.15), (0, b - 0.1), (0.4 * r, b + 0.1), (r, b),
                  (0, b + 0.36 * height)) for b, r in lows]  # fmt: skip
    else:
        blobs = [(0.0, 0.0, 0.85 * radius)]
        blobs += [(*rng.uniform(-0.62, 0.62, 2), radius * rng.uniform(0.3, 0.6)) for _ in range(8)]
        crown = [
            tuple(
                (a * radius + x * s, height + (b - 1.05) * radius + y * s)
                for (x, y), s in zip(disc(0, 0, r), rng.uniform(0.8, 1.15, 16), strict=True)
            )
            for a, b, r in blobs
        ]
    leaves = [((label, "leaves", (tone + 0.21 * (i % 3)) % 1), o) for i, o in enumerate(crown)]
    return cutouts(Frame(frame.origin), [((label, "bark", 0), trunk), *leaves])


def bush(frame: Frame, rng: Random) -> list[Facet]:
    label, tone, size = ID["vegetation"], rng.random_sample(), rng.uniform(0.5, 1.3)
    blobs = [disc(i * size, 0.3 * size, *(size * rng.uniform(0.5, 1, 2))) for i in (-0.7, 0, 0.7)]
    surfaces = [(label, "leaves", (tone + 0.3 * i) % 1) for i in range(3)]
    grown = [tuple((a, max(b, 0)) for a, b in blob) for blob in blobs]
    return cutouts(Frame(frame.origin), zip(surfaces, grown, strict=True))


def street_lamp(frame: Frame, rng: Random) -> list[Facet]:
    """Makes a mast with an arm that reaches to the right of the frame."""
    surface, height = (ID["pole"], "steel", rng.random_sample()), rng.uniform(6, 9)
    bulb = box(1.4, 2.2, height + 0.24, height + 0.44)
    shapes = [
        (surface, box(-0.09, 0.09, 0, height)),
        (surface, limb(0, height, 1.8, height + 0.4, 0.12)),
    ]
    return cutouts(frame, [*shapes, ((ID["pole"], "lamp", 0), bulb)])


def bollard(frame: Frame, rng: Random) -> list[Facet]:
    return [frame.across((ID["pole"], "steel", rng.random_sample()), box(-0.07, 0.07, 0, 0.95))]


def litter_bin(frame: Frame, rng: Random) -> list[Facet]:
    """Makes a bin, whose class, static, is ignored."""
    steel, black = (ID["static"], "steel", rng.random_sample()), (ID["static"], "black", 0)
    return cutouts(frame, [(steel, box(-0.25, 0.25, 0, 1)), (black, box(-0.28, 0.28, 0.85, 1.05))])


def traffic_light(frame: Frame, rng: Random) -> list[Facet]:
    label, height, lit = ID["traffic light"], rng.uniform(2.6, 3.2), rng.randint(3)
    pole = (ID["pole"], "steel", 0.3), box(-0.07, 0.07, 0, height)
    case = (label, "black", 0), box(-0.22, 0.22, height - 0.4, height + 0.75)
    lamps = [
        ((label, color if i == lit else "tyre", 0), disc(0, height - 0.2 + 0.37 * i, 0.14))
        for i, color in enumerate(("green", "amber", "red"))
    ]
    return cutouts(frame, [pole, case, *lamps])


SIGNS = (  # colour and outline of the plate, then of its symbol
    ("signred", disc(0, 0, 0.36), "signwhite", disc(0, 0, 0.26)),
    ("signblue", disc(0, 0, 0.36), "signwhite", limb(-0.12, -0.12, 0.14, 0.14, 0.1)),
    ("signred", disc(0, 0, 0.36), "signwhite", box(-0.24, 0.24, -0.06, 0.06)),
    ("signred", ((-0.42, 0.34), (0, -0.4), (0.42, 0.34)),
     "signwhite", ((-0.25, 0.24), (0, -0.2), (0.25, 0.24))),
    ("signwhite", ((-0.4, 0), (0, 0.4), (0.4, 0), (0, -0.4)),
     "signyellow", ((-0.27, 0), (0, 0.27), (0.27, 0), (0, -0.27))),
    ("signblue", box(-0.32, 0.32, -0.32, 0.32), "signwhite", box(-0.1, 0.1, -0.2, 0.2)),
    ("signblue", box(-0.7, 0.7, -0.3, 0.3), "signwhite", box(-0.55, 0.45, -0.08, 0.08)),
)  # fmt: skip


def traffic_sign(frame: Frame, rng: Random) -> list[Facet]:
    color, plate, on_it, symbol = SIGNS[rng.randint(len(SIGNS))]
    height, label = rng.uniform(2.1, 2.7), ID["traffic sign"]
    above = [tuple((a, height + b) for a, b in shape) for shape in (plate, symbol)]
    pole = (ID["pole"], "steel", 0.7), box(-0.05, 0.05, 0, height)
    plates = [((label, color, 0), above[0]), ((label, on_it, 0), above[1])]
    return cutouts(frame, [pole]) + cutouts(frame, plates, z=-0.06)
