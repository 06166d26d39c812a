"""``make bench``: figures as ratios against something measured beside them."""
