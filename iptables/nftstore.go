package iptables

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/internal/dump"
)

// nftStore is nf_tables, which iptables-nft writes into: tables of the families ip and ip6, named
// like those of ip_tables and ip6_tables.
type nftStore struct {
	ns   int           // file descriptor
	conn *netlink.Conn // nil until first used, and after an error that may have left something unread
}

// stamp is the generation of the namespace's tables, which every change to any of them advances by one, whoever makes it.
func (s *nftStore) stamp() (stamp, error) {
	answers, err := s.request(ipv4, unix.NFT_MSG_GETGEN, 0)
	if err != nil {
		return stamp{}, failure("read generation", "of nf_tables", err)
	}
	for _, ad := range answers {
		for ad.Next() {
			if ad.Type() == unix.NFTA_GEN_ID {
				return stamp{uint64(ad.Uint32())}, nil
			}
		}
	}
	return stamp{}, failure("read generation", "of nf_tables", errors.New("the kernel's answer has none"))
}

// nftChain is a chain of a table that we write into.
type nftChain struct {
	table, name string
	base        bool
	policy      uint32
}

func (s *nftStore) list() (list []nftChain, err error) {
	for _, f := range families {
		answers, err := s.request(f, unix.NFT_MSG_GETCHAIN, netlink.Dump)
		if err != nil {
			return nil, failure("list chains", "of nf_tables", err)
		}
		for _, ad := range answers {
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
			if err := ad.Err(); err != nil {
				return nil, failure("list chains", "of nf_tables", err)
			}
			if known(c.table) {
				list = append(list, c)
			}
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

// illegible lists tables that have sets: iptables knows none, and leaves what looks into one out of the rules that it shows.
func (s *nftStore) illegible() (list []string, err error) {
	for _, f := range families {
		answers, err := s.request(f, unix.NFT_MSG_GETSET, netlink.Dump)
		if err != nil {
			return nil, failure("list sets", "of nf_tables", err)
		}
		for _, ad := range answers {
			for ad.Next() {
				if ad.Type() == unix.NFTA_SET_TABLE {
					list = append(list, f.tableOf(ad.String()))
				}
			}
			if err := ad.Err(); err != nil {
				return nil, failure("list sets", "of nf_tables", err)
			}
		}
	}
	return list, nil
}

// hold does nothing: nf_tables has no lock. See settled.
func (s *nftStore) hold(context.Context) (lock, error) { return nil, nil }

// settled compares the generation with what it is if nobody but us wrote: each table is a transaction of its own.
func (s *nftStore) settled(before stamp, tables int) (stamp, error) {
	now, err := s.stamp()
	if err != nil || now[0] != before[0]+uint64(tables) {
		return stamp{}, err
	}
	return now, nil
}

// tidy deletes built-in chains and tables in which there is nothing. The kernel refuses to delete those in which somebody has put something
// meanwhile.
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

// remove deletes one object in which there is nothing. One that holds something stays, and one that is not there is fine.
func (s *nftStore) remove(f family, object string, kind uint16, fill func(*netlink.AttributeEncoder)) error {
	const unlessUsed netlink.HeaderFlags = 0x100 // NLM_F_NONREC of linux/netlink.h, in messages that delete
	m, err := nftMessage(f, kind, netlink.Acknowledge|unlessUsed, fill)
	if err != nil {
		return failure("delete", object, err)
	}
	if err := s.open(); err != nil {
		return failure("delete", object, err)
	}
	sent, err := s.conn.SendMessages([]netlink.Message{batchMark(unix.NFNL_MSG_BATCH_BEGIN), m, batchMark(unix.NFNL_MSG_BATCH_END)})
	if err == nil {
		err = s.acknowledged(sent[1].Header.Sequence)
	}
	switch {
	case err == nil:
		return nil
	case errors.Is(err, unix.EBUSY), errors.Is(err, unix.ENOENT):
		return s.close() // with what else it may have said of the batch
	}
	return errors.Join(failure("delete", object, err), s.close())
}

func (s *nftStore) acknowledged(sequence uint32) error {
	for {
		replies, err := s.conn.Receive()
		if err != nil {
			return err
		}
		for _, m := range replies {
			if m.Header.Type == netlink.Error && m.Header.Sequence == sequence {
				return nil
			}
		}
	}
}

// request asks one question and returns the attributes of the answers.
func (s *nftStore) request(f family, kind uint16, flags netlink.HeaderFlags) ([]*netlink.AttributeDecoder, error) {
	m, err := nftMessage(f, kind, flags, nil)
	if err != nil {
		return nil, err
	}
	if err := s.open(); err != nil {
		return nil, err
	}
	answers, err := dump.Complete(func() ([]netlink.Message, error) {
		answers, err := s.conn.Execute(m)
		if err == nil {
			err = dump.Check(answers)
		}
		return answers, err
	})
	if errors.Is(err, unix.EINVAL) { // nfnetlink's word for a subsystem that is not there
		err = fmt.Errorf("%w: the kernel has no nf_tables (CONFIG_NF_TABLES): %w", dataplane.ErrUnsupported, err)
	}
	if err != nil {
		return nil, errors.Join(err, s.close())
	}
	var decoders []*netlink.AttributeDecoder
	for _, m := range answers {
		const header = 4 // struct nfgenmsg
		if len(m.Data) < header {
			return nil, errors.New("short answer from nf_tables")
		}
		ad, err := netlink.NewAttributeDecoder(m.Data[header:])
		if err != nil {
			return nil, err
		}
		ad.ByteOrder = binary.BigEndian
		decoders = append(decoders, ad)
	}
	return decoders, nil
}

func (s *nftStore) open() error {
	if s.conn != nil {
		return nil
	}
	conn, err := netlink.Dial(unix.NETLINK_NETFILTER, &netlink.Config{NetNS: s.ns})
	if err == nil {
		s.conn = conn
	}
	return err
}

func (s *nftStore) close() error {
	if s.conn == nil {
		return nil
	}
	err := s.conn.Close()
	s.conn = nil
	return err
}

// nftMessage is one request of nf_tables: a struct nfgenmsg and attributes, numbers in network order.
func nftMessage(f family, kind uint16, flags netlink.HeaderFlags, fill func(*netlink.AttributeEncoder)) (netlink.Message, error) {
	ae := netlink.NewAttributeEncoder()
	ae.ByteOrder = binary.BigEndian
	if fill != nil {
		fill(ae)
	}
	attrs, err := ae.Encode()
	number := byte(unix.NFPROTO_IPV4)
	if f == ipv6 {
		number = unix.NFPROTO_IPV6
	}
	return netlink.Message{
		Header: netlink.Header{Type: netlink.HeaderType(unix.NFNL_SUBSYS_NFTABLES<<8 | kind), Flags: netlink.Request | flags},
		Data:   append([]byte{number, unix.NFNETLINK_V0, 0, 0}, attrs...),
	}, err
}

// batchMark brackets a transaction; its header names the subsystem that it is for.
func batchMark(kind netlink.HeaderType) netlink.Message {
	return netlink.Message{
		Header: netlink.Header{Type: kind, Flags: netlink.Request},
		Data:   []byte{unix.AF_UNSPEC, unix.NFNETLINK_V0, 0, unix.NFNL_SUBSYS_NFTABLES},
	}
}
