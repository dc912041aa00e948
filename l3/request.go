package l3

import "context"

type requestKey struct{}

// WithRequest returns a context for work on behalf of the API's request with that ID. Whatever a
// host must realise because of it carries the ID to the host, so that one change can be followed
// through the logs of the server and of the agent.
func WithRequest(ctx context.Context, id string) context.Context {
	return context.WithValue(ctx, requestKey{}, id)
}

// RequestOf returns the ID that [WithRequest] gave a context; empty: none.
func RequestOf(ctx context.Context) string {
	id, _ := ctx.Value(requestKey{}).(string)
	return id
}
