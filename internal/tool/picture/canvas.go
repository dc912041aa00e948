package main

import (
	"bytes"
	"fmt"
	"html"
	"strings"
)

// canvas is an SVG that is being drawn. Lengths are pixels at the size that README shows it in.
type canvas struct{ bytes.Buffer }

// style is a colour, and the paler one of what it fills.
type style struct{ line, fill string }

func newCanvas(width, height int, title string) *canvas {
	c := &canvas{}
	c.printf(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" height="%d" role="img" `+
		`font-family="Helvetica,Arial,sans-serif" font-size="13">`,
		width, height, width, height)
	c.printf(`<title>%s</title>`, html.EscapeString(title))
	c.printf(`<rect width="%d" height="%d" rx="8" fill="#ffffff"/>`, width, height)
	return c
}

func (c *canvas) printf(format string, args ...any) { fmt.Fprintf(c, format+"\n", args...) }

// box draws a rectangle with lines of text in its middle, the first of them bold.
func (c *canvas) box(x, y, w, h int, s style, lines ...string) {
	c.printf(`<rect x="%d" y="%d" width="%d" height="%d" rx="6" fill="%s" stroke="%s" stroke-width="1.5"/>`, x, y, w, h, s.fill, s.line)
	top := y + h/2 - (len(lines)-1)*8 + 5
	for i, l := range lines {
		c.text(x+w/2, top+16*i, "middle", i == 0, "#1f2328", l)
	}
}

// frame draws a rectangle around other things, with a label in its upper left corner.
func (c *canvas) frame(x, y, w, h int, s style, label string) {
	c.printf(`<rect x="%d" y="%d" width="%d" height="%d" rx="8" fill="%s" stroke="%s" stroke-width="1.5" stroke-dasharray="6 4"/>`, x, y, w, h, s.fill, s.line)
	c.text(x+12, y+20, "start", true, s.line, label)
}

func (c *canvas) text(x, y int, anchor string, bold bool, colour, text string) {
	weight := "normal"
	if bold {
		weight = "bold"
	}
	c.printf(`<text x="%d" y="%d" text-anchor="%s" font-weight="%s" fill="%s">%s</text>`, x, y, anchor, weight, colour, html.EscapeString(text))
}

// path draws a line through points, with an arrow head at its end, or at both.
func (c *canvas) path(colour string, width float64, both bool, points ...int) {
	var d strings.Builder
	for i := 0; i < len(points); i += 2 {
		fmt.Fprintf(&d, "%c%d %d", "ML"[min(i, 1)], points[i], points[i+1])
	}
	id := "a" + strings.TrimPrefix(colour, "#")
	start := ""
	if both {
		start = fmt.Sprintf(` marker-start="url(#%s)"`, id)
	}
	c.printf(`<marker id="%s" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8" markerUnits="userSpaceOnUse" orient="auto-start-reverse">`+
		`<path d="M0 0L8 4L0 8z" fill="%s"/></marker>`, id, colour)
	c.printf(`<path d="%s" fill="none" stroke="%s" stroke-width="%g"%s marker-end="url(#%s)"/>`, d.String(), colour, width, start, id)
}

// wire draws a line without arrow heads.
func (c *canvas) wire(colour string, width float64, dashed bool, points ...int) {
	var d strings.Builder
	for i := 0; i < len(points); i += 2 {
		fmt.Fprintf(&d, "%c%d %d", "ML"[min(i, 1)], points[i], points[i+1])
	}
	dash := ""
	if dashed {
		dash = ` stroke-dasharray="2 4"`
	}
	c.printf(`<path d="%s" fill="none" stroke="%s" stroke-width="%g"%s/>`, d.String(), colour, width, dash)
}

func (c *canvas) done() []byte {
	c.printf("</svg>")
	return c.Bytes()
}
