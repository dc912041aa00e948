package main

import (
	"context"
	"fmt"
	"io"

	"github.com/l3kit/l3kit/examples/internal/explain"
)

// ask is the command that says what a router does with a packet, and why.
type ask struct {
	Router string `required:"" type:"existingfile" placeholder:"FILE" help:"Router file."`
	explain.Question
}

// Run is called by kong.
func (a *ask) Run(ctx context.Context, out io.Writer) error {
	router, err := readRouter(a.Router)
	if err != nil {
		return fmt.Errorf("%s: %w", a.Router, err)
	}
	return a.Answer(ctx, out, router, explain.Host{})
}
