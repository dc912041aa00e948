package l3

import (
	"context"
	"errors"
	"net/netip"
	"time"

	"github.com/l3kit/l3kit/dataplane"
)

// Sentinels of a [Store].
var (
	// ErrAbsent is returned for what is not there.
	ErrAbsent = errors.New("not found in the store")
	// ErrTaken is returned when a constraint refuses a row that another has taken the place of: an
	// address, a MAC address, a segment, a host. The transaction goes on; [TakenError]
	// says which constraint.
	ErrTaken = errors.New("taken")
	// ErrUnavailable is returned when the database was away for so long that the store has given
	// up. What was asked has had no effect.
	ErrUnavailable = errors.New("the database does not answer")
)

// Store keeps what was asked for. Methods may run concurrently, in several processes on one
// database.
type Store interface {
	// View runs fn on one consistent state.
	View(ctx context.Context, fn func(Tx) error) error

	// Update runs fn in a transaction and commits it unless fn fails. All transactions have an
	// effect as if one ran after another. fn may be run again, when the database found that it
	// could not be fitted in, so it must not have effects elsewhere. When Update returns nil, the
	// change outlives the process.
	Update(ctx context.Context, fn func(Tx) error) error

	Close() error
}

// Tx is a transaction. It is valid until the function that it was given to returns, and calls are
// made one at a time.
type Tx interface {
	Networks() Table[Network]
	Subnets() Table[Subnet]
	Ports() Table[Port]
	Routers() Table[Router]
	RouterStates() RouterStates
	FloatingIPs() Table[FloatingIP]
	PortForwardings() Table[PortForwarding]
	SecurityGroups() Table[SecurityGroup]
	SecurityGroupRules() Table[SecurityGroupRule]
	RBACPolicies() Table[RBACPolicy]
	SubnetPools() Table[SubnetPool]
	AddressScopes() Table[AddressScope]
	Topologies() Table[AutoAllocatedTopology] // by their projects
	QoSPolicies() Table[QoSPolicy]
	QoSRules() Table[QoSRule]
	Agents() Table[Agent]
	Departures() Table[Departure]
	Orphans() Table[Orphan]
	Sightings() Table[Sighting]

	Deployment() DeploymentRow
	Addresses() Addresses
	Segments() Segments
	Quotas() QuotaStore
	Outbox() Outbox
}

// DeploymentRow is the identity of the database, which has one from its first migration on.
type DeploymentRow interface {
	Get(ctx context.Context) (Deployment, error)
	// NextEpoch is higher than any that the database ever gave; see [Deployment].
	NextEpoch(ctx context.Context) (uint64, error)
	// RaiseEpoch makes the highest epoch at least as high as given.
	RaiseEpoch(ctx context.Context, epoch uint64) error
	SetBus(ctx context.Context, claim BusClaim) error
}

// Table keeps the resources of one kind. Each is stored as it is given: rules are the service's,
// uniqueness is the store's.
type Table[R any] interface {
	Get(ctx context.Context, id string) (R, error) // ErrAbsent
	// List orders strings by their bytes and false before true; what is null or absent comes first.
	// The ID that decides what is left equal has the direction of the last key. An attribute or a
	// value that makes no sense is ErrInvalid, a marker that is not there, or not in the scope,
	// ErrAbsent.
	List(ctx context.Context, q Query) ([]R, error)
	Count(ctx context.Context, filters ...Filter) (int, error)
	Insert(ctx context.Context, r ...R) error // ErrTaken
	// Update replaces a resource. Where it has a revision, what is stored must have the same one
	// (else the transaction is run again), and grows by one.
	Update(ctx context.Context, r *R) error // ErrAbsent, ErrTaken
	// Refresh is Update that leaves the revision as it is. It stores attributes that follow from
	// other resources and from hosts.
	Refresh(ctx context.Context, r *R) error     // ErrAbsent, ErrTaken
	Delete(ctx context.Context, id string) error // ErrAbsent
}

// RouterStates is the table of what hosts must realise and which agents host it, by the routers'
// IDs.
type RouterStates interface {
	Table[RouterState]
	// Hosted is how many routers each agent hosts, by the agents' IDs. It costs little however many
	// routers there are.
	Hosted(ctx context.Context) (map[string]int, error)
}

// Addresses is which addresses of subnets are in use. A port's go with it.
type Addresses interface {
	// Claim takes an address for a port. ErrTaken.
	Claim(ctx context.Context, subnetID string, a netip.Addr, portID string) error
	Release(ctx context.Context, subnetID string, a netip.Addr) error
	// FirstFree is the lowest address of the ranges, in their order, that nobody has; the zero Addr
	// when there is none. It costs little however many are taken.
	FirstFree(ctx context.Context, subnetID string, ranges []AddressRange) (netip.Addr, error)
	// Count is how many of a subnet are in use.
	Count(ctx context.Context, subnetID string) (int, error)
	// All is every claim there is, for auditors.
	All(ctx context.Context) ([]AddressClaim, error)
}

// AddressClaim is that a port has an address.
type AddressClaim struct {
	SubnetID string
	Address  netip.Addr
	PortID   string
}

// Segments is which segments networks use.
type Segments interface {
	// Claim takes a segment for a network. Types without a segmentation ID on a physical network
	// (flat) are taken whole. ErrTaken.
	Claim(ctx context.Context, s Segment, networkID string) error
	Release(ctx context.Context, networkID string) error
	// FirstFree is the lowest free ID from first to last; 0 when there is none.
	FirstFree(ctx context.Context, typ dataplane.NetworkType, physical string, first, last uint32) (uint32, error)
	// All is every claim there is, with the network's ID, for auditors.
	All(ctx context.Context) (map[Segment]string, error)
}

// QuotaStore is what projects were given beside the defaults.
type QuotaStore interface {
	Get(ctx context.Context, project string) (map[string]int, error) // empty: nothing
	List(ctx context.Context) (map[string]map[string]int, error)
	Set(ctx context.Context, project string, limits map[string]int) error // those named
	Delete(ctx context.Context, project string) error
}

// Outbox is what must be published, in the order of the changes. A notice is there exactly when its
// change was committed.
type Outbox interface {
	Add(ctx context.Context, n ...Notice) error
	Next(ctx context.Context, limit int) ([]Notice, error)
	Done(ctx context.Context, upTo uint64) error
}

// Notice says that a host must be told about a router.
type Notice struct {
	Seq      uint64 // given by the store
	Host     string
	RouterID string // as [Placement].RouterID
	Epoch    uint64
	Gone     bool // the host does not have it any more
	At       time.Time
}

// TakenError is ErrTaken with the constraint's name: ports_mac, agents_host, floatingips_bound, and
// addresses_pkey and the like for the key of a table.
type TakenError struct{ What string }

func (e *TakenError) Error() string { return e.What + " is taken" }

// Is makes it ErrTaken.
func (e *TakenError) Is(target error) bool { return target == ErrTaken }
