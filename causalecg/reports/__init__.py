"""Figures and one template: an offline HTML page, JSON and Markdown."""
