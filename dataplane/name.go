package dataplane

import "strings"

// Kernel names derive from IDs, as Neutron derives them, so that tools and people who know those
// find their way.
const (
	namespacePrefix = "qrouter-"
	centrePrefix    = "snat-" // Neutron's namespace for what a distributed router does centrally
	portPrefix      = "qr-"
	gatewayPrefix   = "qg-"
	transitPrefix   = "qt-"
	deviceNameLen   = 14 // Neutron's cut; the kernel allows 15 (IFNAMSIZ - 1)
)

// CentreID is the ID of the instance that is a distributed router's centre. Its edges have the
// router's own, so that a host can have both.
func CentreID(routerID string) string { return centrePrefix + routerID }

// NamespaceName is the name of the network namespace that realises a router: qrouter-ID, and for
// the centre of a distributed one its ID alone, snat-….
func NamespaceName(routerID string) string {
	if strings.HasPrefix(routerID, centrePrefix) {
		return routerID
	}
	return namespacePrefix + routerID
}

// PortDevice is the name, in the router's namespace, of the device of an internal port.
func PortDevice(portID string) string { return cut(portPrefix + portID) }

// GatewayDevice is the name, in the router's namespace, of the gateway's device.
func GatewayDevice(portID string) string { return cut(gatewayPrefix + portID) }

// TransitDevice is the name, in the router's namespace, of the device of its transit.
func TransitDevice(portID string) string { return cut(transitPrefix + portID) }

// IsDevice reports whether a device in a router's namespace has the name that a port's device has,
// whatever the port is to the router.
func IsDevice(name, portID string) bool {
	return name == PortDevice(portID) || name == GatewayDevice(portID) || name == TransitDevice(portID)
}

func cut(name string) string { return name[:min(len(name), deviceNameLen)] }
