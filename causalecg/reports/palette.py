"""The colours of all figures."""

INK, GREY, SHADE = "#1d2733", "#8a94a0", "#dfe6ec"
#: An open back-door path, a threshold that is crossed; what is judged; what it is held against.
OPEN, GOOD, SECOND = "#c0392b", "#1f6f8b", "#d08a1d"
