package dataplane_test

import (
	"net/netip"
	"reflect"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/l3kit/l3kit/dataplane"
)

// Every field of a router, however deep, makes a difference to Equal, and none is shared with a
// Clone. A new field fails here until both know it.
func TestEqualAndCloneKnowEveryField(t *testing.T) {
	full := threeTier()
	full.Ports[0].Network = dataplane.Network{ID: "net-web", Type: dataplane.NetworkVLAN, Physical: "public", Segment: 7}
	full.Gateway.OnLink = []netip.Prefix{prefix("198.18.0.0/24")}
	full.PortForwardings = forwarding().PortForwardings
	full.Limits = limited().Limits
	full.Transit = edge().Transit
	full.Ports[1].Anycast = edge().Ports[1].Anycast
	seen := 0
	leaves(reflect.ValueOf(&full).Elem(), "Router", func(path string, _ reflect.Value) {
		seen++
		changed, original := full.Clone(), full.Clone()
		require.True(t, changed.Equal(full) && full.Equal(changed))
		leaves(reflect.ValueOf(&changed).Elem(), "Router", func(p string, v reflect.Value) {
			if p == path {
				alter(t, path, v)
			}
		})
		require.False(t, changed.Equal(full), "Equal does not see %s", path)
		require.False(t, full.Equal(changed), "Equal does not see %s", path)
		require.True(t, reflect.DeepEqual(original, full), "Clone shares %s", path)
	})
	require.Greater(t, seen, 30)
}

// leaves calls fn for each value in v that is not made of others, as far as this package makes
// types.
func leaves(v reflect.Value, path string, fn func(path string, v reflect.Value)) {
	switch {
	case v.Type() == reflect.TypeFor[netip.Addr]() || v.Type() == reflect.TypeFor[netip.Prefix]() || v.Kind() == reflect.Array:
		fn(path, v)
	case v.Kind() == reflect.Struct:
		for i := range v.NumField() {
			leaves(v.Field(i), path+"."+v.Type().Field(i).Name, fn)
		}
	case v.Kind() == reflect.Slice:
		for i := range v.Len() {
			leaves(v.Index(i), path+"["+string(rune('0'+i))+"]", fn)
		}
		fn(path, v) // its length
	case v.Kind() == reflect.Pointer:
		if !v.IsNil() {
			leaves(v.Elem(), path, fn)
		}
		fn(path, v) // whether it is there
	default:
		fn(path, v)
	}
}

// alter changes a value.
func alter(t *testing.T, path string, v reflect.Value) {
	t.Helper()
	switch x := v.Interface().(type) {
	case netip.Addr:
		v.Set(reflect.ValueOf(x.Next()))
		return
	case netip.Prefix:
		v.Set(reflect.ValueOf(netip.PrefixFrom(x.Addr().Next(), x.Bits())))
		return
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString(v.String() + "x")
	case reflect.Bool:
		v.SetBool(!v.Bool())
	case reflect.Int:
		v.SetInt(v.Int() + 1)
	case reflect.Uint16, reflect.Uint32:
		v.SetUint(v.Uint() + 1)
	case reflect.Array: // MAC
		v.Index(5).SetUint(v.Index(5).Uint() ^ 0xff)
	case reflect.Slice:
		require.NotZero(t, v.Len(), "%s: the test needs an element", path)
		v.SetLen(v.Len() - 1)
	case reflect.Pointer:
		if v.IsNil() {
			v.Set(reflect.New(v.Type().Elem()))
		} else {
			v.SetZero()
		}
	default:
		t.Fatalf("%s: a %s, which neither this test nor perhaps Equal and Clone know", path, v.Kind())
	}
}

func TestEqualIgnoresOrder(t *testing.T) {
	r := threeTier()
	r.Gateway.Addrs = append(r.Gateway.Addrs, prefix("198.51.100.2/24"), prefix("192.0.2.2/24"))
	r.Routes = append(r.Routes, dataplane.Route{Dest: prefix("10.8.0.0/16"), NextHop: addr("10.0.1.9")})
	o := r.Clone()
	slices.Reverse(o.Ports)
	slices.Reverse(o.Ports[0].Addrs)
	slices.Reverse(o.FloatingIPs)
	slices.Reverse(o.Routes)
	slices.Reverse(o.Gateway.NextHops)
	slices.Reverse(o.Gateway.Addrs[1:])
	require.True(t, r.Equal(o))

	o = r.Clone()
	slices.Reverse(o.Gateway.Addrs)
	require.False(t, r.Equal(o), "the first IPv4 address of the gateway is another")
}

func TestEqualTakesNothingForEmpty(t *testing.T) {
	empty := dataplane.Router{ID: "r", Ports: []dataplane.Port{}, FloatingIPs: []dataplane.FloatingIP{}, Routes: []dataplane.Route{}}
	require.True(t, empty.Equal(dataplane.Router{ID: "r"}))
	a, b := threeTier(), threeTier()
	b.Ports[0].Network.Type = dataplane.NetworkLocal
	require.True(t, a.Equal(b), "a network without a type is local")
}

func TestEqualRoutersBehaveAlike(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := genRouter().Draw(t, "router")
		o := r.Clone()
		o.Ports = rapid.Permutation(o.Ports).Draw(t, "ports")
		o.FloatingIPs = rapid.Permutation(o.FloatingIPs).Draw(t, "floating IPs")
		o.PortForwardings = rapid.Permutation(o.PortForwardings).Draw(t, "port forwardings")
		for i := range o.Ports {
			if a := o.Ports[i].Anycast; a != nil {
				a.Neighbours = rapid.Permutation(a.Neighbours).Draw(t, "neighbours")
			}
		}
		if tr := o.Transit; tr != nil {
			tr.Routes = rapid.Permutation(tr.Routes).Draw(t, "routes of the transit")
			tr.Centre = rapid.Permutation(tr.Centre).Draw(t, "addresses of the centre")
			tr.External = rapid.Permutation(tr.External).Draw(t, "external addresses")
			tr.Elsewhere = rapid.Permutation(tr.Elsewhere).Draw(t, "translated elsewhere")
		}
		require.True(t, r.Equal(o))
		p := genPacket(r).Draw(t, "packet")
		require.Equal(t, r.Trace(p), o.Trace(p))
	})
}

func BenchmarkEqual(b *testing.B) {
	r := manyFIPs(10_000)
	o := r.Clone()
	for b.Loop() {
		if !r.Equal(o) {
			b.Fatal("not equal")
		}
	}
}
