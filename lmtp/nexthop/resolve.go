package nexthop

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
)

// maxAddresses is how many addresses of one hop are tried at most.
const maxAddresses = 16

// Resolver does the DNS lookups that a hop needs. *net.Resolver implements it.
type Resolver interface {
	LookupIPAddr(ctx context.Context, host string) ([]net.IPAddr, error)
	LookupSRV(ctx context.Context, service, proto, name string) (string, []*net.SRV, error)
}

// address is one place to dial.
type address struct {
	network string // "tcp" or "unix"
	address string
}

func (a address) String() string {
	if a.network == "unix" {
		return "unix:" + a.address
	}
	return a.address
}

// addresses returns the addresses of a hop, in the order to try. It passes over SRV targets without an address, unless none has one.
func (h *Hop) addresses(ctx context.Context) ([]address, error) {
	if h.spec.Path != "" {
		return []address{{"unix", h.spec.Path}}, nil
	}
	if h.spec.Scheme != LMTPSRV {
		return h.hostAddresses(ctx, h.spec.Host, h.spec.Port)
	}
	_, records, err := h.options.Resolver.LookupSRV(ctx, "lmtp", "tcp", h.spec.Host)
	if err != nil {
		return nil, fmt.Errorf("looking up the SRV records: %w", err)
	}
	// A single target "." means that the service is not offered (RFC 2782).
	if len(records) == 0 || len(records) == 1 && records[0].Target == "." {
		return nil, errors.New("the SRV records offer no LMTP service")
	}
	var found []address
	var errs []error
	for _, r := range orderSRV(records, h.random) {
		list, err := h.hostAddresses(ctx, r.Target, r.Port)
		if err != nil {
			errs = append(errs, err)
		}
		found = append(found, list...)
	}
	if len(found) == 0 {
		return nil, errors.Join(errs...)
	}
	return found[:min(len(found), maxAddresses)], nil
}

// hostAddresses resolves one host. The order is that of the resolver, which follows RFC 6724.
func (h *Hop) hostAddresses(ctx context.Context, host string, port uint16) ([]address, error) {
	portText := strconv.Itoa(int(port))
	if net.ParseIP(host) != nil {
		return []address{{"tcp", net.JoinHostPort(host, portText)}}, nil
	}
	ips, err := h.options.Resolver.LookupIPAddr(ctx, host)
	if err != nil {
		return nil, fmt.Errorf("looking up %s: %w", host, err)
	}
	if len(ips) == 0 {
		return nil, fmt.Errorf("looking up %s: it has no address", host)
	}
	var list []address
	for _, ip := range ips[:min(len(ips), maxAddresses)] {
		list = append(list, address{"tcp", net.JoinHostPort(ip.String(), portText)})
	}
	return list, nil
}

// orderSRV sorts the records by priority and, within one, randomly: a larger weight tends to come first (RFC 2782, "Weight"). random(n)
// returns a number in [0, n). It is needed because resolvers other than net's do not sort.
func orderSRV(records []*net.SRV, random func(n int) int) []*net.SRV {
	rest := slices.Clone(records)
	// Weight 0 comes first within its priority: it is chosen only if the number drawn is 0.
	slices.SortStableFunc(rest, func(a, b *net.SRV) int {
		return cmp.Or(cmp.Compare(a.Priority, b.Priority), cmp.Compare(a.Weight, b.Weight))
	})
	ordered := make([]*net.SRV, 0, len(rest))
	for len(rest) > 0 {
		sum, same := 0, 0
		for same < len(rest) && rest[same].Priority == rest[0].Priority {
			sum += int(rest[same].Weight)
			same++
		}
		drawn, running, i := random(sum+1), 0, 0
		for ; i < same-1; i++ {
			if running += int(rest[i].Weight); running >= drawn {
				break
			}
		}
		ordered = append(ordered, rest[i])
		rest = slices.Delete(rest, i, i+1)
	}
	return ordered
}
