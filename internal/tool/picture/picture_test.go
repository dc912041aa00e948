package main

import (
	"encoding/xml"
	"errors"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestPictureIsFresh: what README shows is what its source draws.
func TestPictureIsFresh(t *testing.T) {
	kept, err := os.ReadFile("overview.svg")
	require.NoError(t, err)
	require.Equal(t, string(overview()), string(kept), "overview.svg is stale: run make picture")
	readme, err := os.ReadFile("../../../README.md")
	require.NoError(t, err)
	require.Contains(t, string(readme), "](internal/tool/picture/overview.svg)")
}

func TestPictureIsXML(t *testing.T) {
	d := xml.NewDecoder(strings.NewReader(string(overview())))
	for {
		_, err := d.Token()
		if errors.Is(err, io.EOF) {
			return
		}
		require.NoError(t, err)
	}
}
