package l3

import "context"

type requestKey struct{}

// WithRequest returns a context for work on behalf of the API's request with that ID. Whatever a
// host must realise because of it carries the ID to the host, so that one change can be followed
// through the logs of the server and of the agent.
func WithRequest(ctx context.Context, id string) context.Context {
	return context.WithValue(ctx, requestKey{}, id)
}

// requestOf returns the ID of the request on whose behalf ctx is; empty: of none.
func requestOf(ctx context.Context) string {
	id, _ := ctx.Value(requestKey{}).(string)
	return id
}
