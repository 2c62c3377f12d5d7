package journal

// groups collects items to be done size at a time, each group in one update. flush does the last ones.
type groups[T any] struct {
	size  int
	do    func(group []T) error // the slice is reused
	group []T
}

// add collects one more, and does the group if that is full.
func (g *groups[T]) add(one T) error {
	if g.group = append(g.group, one); len(g.group) == g.size {
		return g.flush()
	}
	return nil
}

// flush does what is collected, if anything.
func (g *groups[T]) flush() error {
	if len(g.group) == 0 {
		return nil
	}
	err := g.do(g.group)
	g.group = g.group[:0]
	return err
}
