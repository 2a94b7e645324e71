"""Why a network does well in one domain and not in another: what its features say."""
