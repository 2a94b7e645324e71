"""Why a network does what it does: where domains differ in it, and which appearances break it."""
