"""The course as a static site: every chapter with its outputs, its exercises and its papers, readable from a disk.

``python -m tools.site OUT`` makes pages of the notebooks as they are committed; with ``--live`` it runs those that hold
widgets once more, and saves what the widgets show, so that they move on the page, too. No page asks a network for
anything: scripts, styles and pictures lie beside it.
"""
