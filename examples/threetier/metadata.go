package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"
)

// metadataURL is where a machine asks its cloud who it is.
const metadataURL = "http://169.254.169.254/latest/meta-data/hostname"

// serveMetadata stands in for Nova's service on each host: agents pass on to it what machines ask of
// their router.
func (s *site) serveMetadata() error {
	on := []func(func() error) error{func(fn func() error) error { return fn() }}
	if s.cluster != nil {
		on = nil
		for _, h := range s.cluster.Hosts {
			on = append(on, h.Do)
		}
	}
	names := map[string]string{wwwAddr: "www", appAddr: "app", dbAddr: "db", archiveAddr: "archive"}
	s.nova = &http.Server{ReadHeaderTimeout: 10 * time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "%s of router %s", names[r.Header.Get("X-Forwarded-For")], r.Header.Get("X-Neutron-Router-ID"))
	})}
	for _, do := range on {
		err := do(func() error {
			l, err := net.Listen("unix", s.how.metadata())
			if err == nil {
				go func() { _ = s.nova.Serve(l) }() // it returns when the server is closed
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// whoAmI shows machines ask who they are.
func whoAmI(ctx context.Context, s *site, out *report) {
	for _, t := range []*tier{s.servers["www"], s.servers["db"]} {
		said, err := said(ctx, t)
		if want := t.name + " of router " + s.cloud.routerID; err == nil && said != want {
			err = fmt.Errorf("%q, want %q", said, want)
		}
		out.check(t.name+" asks 169.254.169.254 who it is", t.name, err)
	}
}

func said(ctx context.Context, t *tier) (string, error) {
	r, err := request(ctx, t.host, "", metadataURL)
	if err != nil {
		return "", err
	}
	text, err := io.ReadAll(io.LimitReader(r.Body, 200))
	return string(text), errors.Join(err, r.Body.Close())
}
