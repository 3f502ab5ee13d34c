"""Colours of all plots: Okabe and Ito's, told apart by colour-blind readers, and greys."""

INK, MUTED, FAINT, GRID = "#1f2933", "#5b6770", "#9aa5b1", "#e6eaee"
BLUE, ORANGE, GREEN, VERMILLION = "#0072B2", "#E69F00", "#009E73", "#D55E00"
PURPLE, SKY = "#CC79A7", "#56B4E9"

#: Rows under each other: the first is the light curve, in the target's colour.
ROWS = (VERMILLION, BLUE, GREEN, PURPLE, ORANGE, SKY, MUTED, INK)
