package journal

// groups collects what is done in one update each, so many at a time. The last ones are done by flush.
type groups[T any] struct {
	size  int
	do    func(group []T) error // the slice is used again
	group []T
}

// add collects one more, and does the group that it fills.
func (g *groups[T]) add(one T) error {
	if g.group = append(g.group, one); len(g.group) == g.size {
		return g.flush()
	}
	return nil
}

// flush does what is collected, if anything is.
func (g *groups[T]) flush() error {
	if len(g.group) == 0 {
		return nil
	}
	err := g.do(g.group)
	g.group = g.group[:0]
	return err
}
