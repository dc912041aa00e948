package iptables

import (
	"context"
	"errors"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/internal/failure"
	"github.com/l3kit/l3kit/internal/nfnetlink"
)

// nftStore is nf_tables, which iptables-nft writes into: tables of the families ip and ip6, named
// like those of ip_tables and ip6_tables.
type nftStore struct{ conn nfnetlink.Conn }

// stamp is the generation of the namespace's tables.
func (s *nftStore) stamp() (stamp, error) {
	generation, err := s.conn.Generation()
	return stamp{uint64(generation)}, err
}

// nftChain is a chain of a table that we write into.
type nftChain struct {
	table, name string
	base        bool
	policy      uint32
}

func (s *nftStore) list() (list []nftChain, err error) {
	for _, f := range families {
		err := s.conn.Ask(f.number(), unix.NFT_MSG_GETCHAIN, netlink.Dump, nil, func(ad *netlink.AttributeDecoder) error {
			var c nftChain
			for ad.Next() {
				switch ad.Type() {
				case unix.NFTA_CHAIN_TABLE:
					c.table = f.tableOf(ad.String())
				case unix.NFTA_CHAIN_NAME:
					c.name = ad.String()
				case unix.NFTA_CHAIN_HOOK:
					c.base = true
				case unix.NFTA_CHAIN_POLICY:
					c.policy = ad.Uint32()
				}
			}
			if known(c.table) {
				list = append(list, c)
			}
			return nil
		})
		if err != nil {
			return nil, failure.Of("list chains", "of nf_tables", err)
		}
	}
	return list, nil
}

func (s *nftStore) chains() (map[string][]string, error) {
	list, err := s.list()
	if errors.Is(err, dataplane.ErrUnsupported) {
		return nil, nil // and so nobody wrote any
	}
	names := map[string][]string{}
	for _, c := range list {
		if ours(c.name) {
			names[c.table] = append(names[c.table], c.name)
		}
	}
	return names, err
}

// illegible lists tables that have sets: iptables knows none, and leaves what looks into one out of
// the rules that it shows.
func (s *nftStore) illegible() (list []string, err error) {
	for _, f := range families {
		err := s.conn.Ask(f.number(), unix.NFT_MSG_GETSET, netlink.Dump, nil, func(ad *netlink.AttributeDecoder) error {
			for ad.Next() {
				if ad.Type() == unix.NFTA_SET_TABLE {
					list = append(list, f.tableOf(ad.String()))
				}
			}
			return nil
		})
		if err != nil {
			return nil, failure.Of("list sets", "of nf_tables", err)
		}
	}
	return list, nil
}

// hold does nothing: nf_tables has no lock. See settled.
func (s *nftStore) hold(context.Context) (lock, error) { return nil, nil }

// settled compares the generation with what it is if nobody but us wrote: each table is a
// transaction of its own.
func (s *nftStore) settled(before stamp, tables int) (stamp, error) {
	now, err := s.stamp()
	if err != nil || now[0] != before[0]+uint64(tables) {
		return stamp{}, err
	}
	return now, nil
}

// tidy deletes built-in chains and tables in which there is nothing. The kernel refuses to delete
// those in which somebody has put something meanwhile.
func (s *nftStore) tidy(f family) error {
	const accept = 1 // NF_ACCEPT of linux/netfilter.h
	list, err := s.list()
	if err != nil {
		return err
	}
	for _, c := range list {
		of, table := splitTable(c.table)
		if !c.base || c.policy != accept || of != f {
			continue
		}
		err := s.remove(f, "chain "+c.name+" of table "+c.table, unix.NFT_MSG_DELCHAIN, func(ae *netlink.AttributeEncoder) {
			ae.String(unix.NFTA_CHAIN_TABLE, table)
			ae.String(unix.NFTA_CHAIN_NAME, c.name)
		})
		if err != nil {
			return err
		}
	}
	for _, table := range tables {
		of, name := splitTable(table)
		if of != f {
			continue
		}
		err := s.remove(f, "table "+table, unix.NFT_MSG_DELTABLE, func(ae *netlink.AttributeEncoder) {
			ae.String(unix.NFTA_TABLE_NAME, name)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// remove deletes one object in which there is nothing. One that holds something stays, and one that
// is not there is fine.
func (s *nftStore) remove(f family, object string, kind uint16, fill nfnetlink.Fill) error {
	const unlessUsed netlink.HeaderFlags = 0x100 // NLM_F_NONREC of linux/netlink.h, in messages that delete
	m, err := nfnetlink.Message(f.number(), kind, unlessUsed, fill)
	if err == nil {
		_, err = s.conn.Transact([]netlink.Message{m}, 0)
	}
	if errors.Is(err, unix.EBUSY) || errors.Is(err, unix.ENOENT) {
		return nil
	}
	return failure.Of("delete", object, err)
}

func (s *nftStore) close() error { return s.conn.Close() }

// number is the family in messages of nf_tables (enum nf_inet_hooks of linux/netfilter.h).
func (f family) number() byte {
	if f == ipv6 {
		return unix.NFPROTO_IPV6
	}
	return unix.NFPROTO_IPV4
}
