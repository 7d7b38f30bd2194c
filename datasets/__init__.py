"""(room being furnished)"""
