"""The edition without install: chapters that need neither torch nor NumPy, run by the reader's browser.

``python -m tools.lite OUT`` makes a folder of static files: JupyterLite, Pyodide from npm, and every wheel it needs,
ours among them. Any web server serves it (``python -m http.server``), and nothing else is asked for anything.
"""
