"""Show: records become charts and a page. No torch here: a page is drawn from records alone.

The room is built and empty: pages move in with *Does it help?*.
"""
