package journal

import (
	"errors"
	"slices"
	"testing"
)

func TestGroups(t *testing.T) {
	for n, want := range map[int][]int{0: nil, 1: {1}, 2: {2}, 3: {3}, 4: {3, 1}, 6: {3, 3}, 7: {3, 3, 1}} {
		var sizes, all []int
		g := groups[int]{size: 3, do: func(group []int) error {
			sizes, all = append(sizes, len(group)), append(all, group...)
			return nil
		}}
		for i := range n {
			if err := g.add(i); err != nil {
				t.Fatal(err)
			}
		}
		if err := errors.Join(g.flush(), g.flush()); err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(sizes, want) || len(all) != n || !slices.IsSorted(all) {
			t.Errorf("%d: groups of %v with %v, want %v", n, sizes, all, want)
		}
	}
	fault := errors.New("invented")
	g := groups[int]{size: 1, do: func([]int) error { return fault }}
	if err := g.add(1); err != fault {
		t.Errorf("error %v", err)
	}
}
