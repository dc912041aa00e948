package natsbus

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/l3kit/l3kit/l3"
)

// identity is the value of $KV.routers.identity. It is written when the bus is first opened.
type identity struct {
	Bus        string `json:"bus"`        // random
	Deployment string `json:"deployment"` // whose database the bus mirrors
}

// ErrOtherDeployment is returned for a bus that belongs to another deployment.
var ErrOtherDeployment = errors.New("the bus belongs to another deployment")

// OtherDeploymentError is ErrOtherDeployment with both deployments.
type OtherDeploymentError struct {
	Bus    string
	Theirs string // the deployment that the bus belongs to
	Ours   string // the deployment of the database
}

func (e *OtherDeploymentError) Error() string {
	return fmt.Sprintf("bus %s belongs to deployment %s, and the database is that of deployment %s: "+
		"restore the database that belongs to the bus, use another bus, or take this one over", e.Bus, e.Theirs, e.Ours)
}

// Is makes it ErrOtherDeployment.
func (e *OtherDeploymentError) Is(target error) bool { return target == ErrOtherDeployment }

// ID identifies the bus. It is random, and was made with the bus.
func (b *Bus) ID() string { return b.self().Bus }

func (b *Bus) self() identity {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.identity
}

func (b *Bus) setSelf(i identity) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.identity = i
}

// identify reads the identity of the bus, and gives it one if it has none. A bus of another
// deployment is refused, or taken over if the options say so.
func (b *Bus) identify(ctx context.Context) error {
	d, err := b.control.Deployment(ctx)
	if err != nil {
		return err
	}
	for {
		is, was, err := b.readIdentity(ctx)
		if err != nil {
			return err
		}
		if is.Bus != "" && is.Deployment != d.ID {
			if !b.options.TakeOver {
				return &OtherDeploymentError{Bus: is.Bus, Theirs: is.Deployment, Ours: d.ID}
			}
			b.log.Warn("taking over the bus of another deployment: what it has is forgotten, hosts keep what they run",
				"bus", is.Bus, "theirs", is.Deployment, "ours", d.ID)
			if err := b.empty(ctx); err != nil {
				return fmt.Errorf("take over the bus of deployment %s: %w", is.Deployment, err)
			}
			is = identity{}
		}
		if is.Bus != "" {
			b.setSelf(is)
			return nil
		}
		is = b.self() // of before its stream was lost
		if is.Bus == "" {
			is = identity{Bus: rand.Text(), Deployment: d.ID}
		}
		err = b.writeIdentity(ctx, is, was)
		if !errors.Is(err, errChanged) {
			if err == nil {
				b.setSelf(is)
			}
			return err
		}
		if !sleep(ctx, 10*time.Millisecond) { // another process was faster
			return ctx.Err()
		}
	}
}

// readIdentity returns the zero identity when there is none, or what is there is damaged.
func (b *Bus) readIdentity(ctx context.Context) (is identity, was entry, err error) {
	was, err = get(ctx, b.stream(bucketRouters), subjectOf(bucketRouters, keyIdentity))
	if err != nil || was.sequence == 0 {
		return is, was, err
	}
	if json.Unmarshal(was.value, &is) != nil || is.Bus == "" || is.Deployment == "" {
		is = identity{}
	}
	return is, was, nil
}

func (b *Bus) writeIdentity(ctx context.Context, is identity, was entry) error {
	text, err := json.Marshal(is)
	if err != nil {
		return err
	}
	return b.put(ctx, subjectOf(bucketRouters, keyIdentity), was, text)
}

// verify finds out whether the bus still is the one that was opened, and restores an identity that
// was lost. Another deployment may have taken it over.
func (b *Bus) verify(ctx context.Context) error {
	is, was, err := b.readIdentity(ctx)
	if err != nil {
		return err
	}
	switch own := b.self(); {
	case is == own:
		return nil
	case is.Bus == "":
		b.log.Error("the bus has lost its identity: writing it again", "bus", own.Bus)
		err := b.writeIdentity(ctx, own, was)
		if errors.Is(err, errChanged) {
			return nil // another process was faster, and is verified next time
		}
		return err
	case is.Deployment != own.Deployment:
		return &OtherDeploymentError{Bus: is.Bus, Theirs: is.Deployment, Ours: own.Deployment}
	default:
		b.log.Warn("the bus was lost, and another server has made a new one", "was", own.Bus, "is", is.Bus)
		b.setSelf(is)
		return nil
	}
}

// empty forgets everything that the bus has, and whoever reads it.
func (b *Bus) empty(ctx context.Context) error {
	for _, c := range b.configs() {
		b.mu.Lock()
		s := b.streams[c.Name]
		b.mu.Unlock()
		var options []jetstream.StreamPurgeOpt
		if c.Name == streamOf(bucketRouters) { // but its identity, which must be written over
			options = append(options, jetstream.WithPurgeSubject(subjectOf(bucketRouters, "*.*")))
		}
		if err := s.Purge(ctx, options...); err != nil {
			return err
		}
	}
	return b.clearFilling(ctx)
}

// claim records in the database that this bus serves it, or renews that record. It is a write, so
// it also finds a database that cannot be written.
func (b *Bus) claim(ctx context.Context) error {
	err := b.control.ClaimBus(ctx, b.ID(), b.options.Server)
	if err == nil {
		return nil
	}
	if b.isOpen() && errors.Is(err, l3.ErrOtherBus) {
		b.setTrouble(err)
	}
	return fmt.Errorf("claim database: %w", err)
}

// release ends the claim on the database, for a server that stops.
func (b *Bus) release(ctx context.Context) error {
	return b.control.ReleaseBus(ctx, b.ID(), b.options.Server)
}
